"""What all things have in common that are open once they are made."""

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Open from the beginning; closed at the end of a `with` block, also after an error."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held."""

    def __enter__(self) -> Self:
        """Return the thing itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()
