"""What ``dingbridge new-consumer`` writes.

``names.py`` checks what was asked for, ``templates/`` has the texts, ``project.py`` says where they go, and
``writing.py`` writes them and overwrites nothing. The recorded events are ``schemas/examples``.
"""
