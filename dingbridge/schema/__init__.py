"""What ``data`` holds by the catalogue, and where real data differs. Pure: no file is read or written here.

``model`` has the properties of a type's normalised ``data``; ``dev/schemas`` makes the contract's files of
them.
"""
