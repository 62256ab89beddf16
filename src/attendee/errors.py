"""What can be refused inside the service, one class for each decision that a caller makes.

DomainError
├── NotFound      there is no such row in the caller's project
├── NotAllowed    a rule of the domain refuses the request
├── Invalid       one field of the request is wrong
└── ClaimLost     another worker holds the row now: nothing of this one's work may be stored
"""


class DomainError(Exception):
    """Base of everything that this service refuses on purpose."""


class NotFound(DomainError):
    """There is no such thing, or it belongs to another project; `what` names its kind ("Calendar")."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} not found")
        self.what = what


class NotAllowed(DomainError):
    """The request is well formed, but a rule refuses it; the text says which, and what would be right."""


class Invalid(DomainError):
    """One field of the request is wrong in a way that only the store can see (a key that is already taken)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class ClaimLost(DomainError):
    """The row was claimed by another worker, changed under us or deleted: roll back and forget."""
