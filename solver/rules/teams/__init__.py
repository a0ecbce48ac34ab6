"""Rule 9, teams: who is able to be in a role, and whether all roles are filled."""
