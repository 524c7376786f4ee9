"""The contract of the topics, made from the catalogue: what ``data`` holds, in standard forms.

``model`` says what a type's ``data`` is once it is normalised; ``json_schema`` and ``asyncapi`` write that
down. Pure: no file is read or written here.
"""
