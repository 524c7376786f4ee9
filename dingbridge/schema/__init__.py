"""The contract of the topics, made from the catalogue: what ``data`` holds, in standard forms.

``model`` says what a type's ``data`` is once it is normalised; ``json_schema`` writes that down, and
``dev/schemas`` makes files and the AsyncAPI document of it. Pure: no file is read or written here.
"""
