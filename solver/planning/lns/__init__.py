"""Large-neighbourhood search (Shaw 1998): destroy a part of the plan, repair it, merge it."""
