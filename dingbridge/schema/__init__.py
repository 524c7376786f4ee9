"""The contract of the topics, made from the catalogue: what ``data`` holds, in standard forms.

``model`` has the properties of a type's normalised ``data``; ``json_schema`` makes a schema of them, and
``dev/schemas`` the files and the AsyncAPI document. Pure: no file is read or written here.
"""
