"""What runs around a render: the checks that a service's repository calls, standard library only."""
