"""See the package."""

from dev.schemas.files import write

if __name__ == "__main__":
    print("\n".join(write()) or "nothing has changed")
