"""The proofs: each protection of this service is attacked, and each attack is shown to be able to succeed.

Owned by the template (flask-bastion): updates replace this folder. Tests of your own belong beside it, in tests/.

    uv run pytest                                    the proofs, and your tests
    uv run pytest --sabotage                         each proof once more against a service without its protection
    uv run pytest --sabotage --proof-report r.html   the same, as a report for an auditor
"""
