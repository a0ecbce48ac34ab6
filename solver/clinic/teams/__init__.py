"""Teams: who besides the provider takes part in an appointment, in the roles that its type has."""
