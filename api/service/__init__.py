"""What the service as a whole needs: settings, logs, metrics, jobs, signals, memory."""
