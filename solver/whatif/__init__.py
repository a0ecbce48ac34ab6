"""What if: runs of several scenarios over some days, solved, verified and explained."""
