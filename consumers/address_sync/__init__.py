"""address-sync, the sample consumer that mirrors DingTalk's address book into an OA database."""

from dingbridge.consumers.address_sync.consumer import AddressSync

__all__ = ["AddressSync"]
