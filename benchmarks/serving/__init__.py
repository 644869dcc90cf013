"""Several serving processes under load and faults, one of them killed: what holds, checked."""
