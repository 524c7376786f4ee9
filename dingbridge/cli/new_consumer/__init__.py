"""What ``dingbridge new-consumer`` writes.

``names.py`` checks the names, ``templates/`` has the texts, ``project.py`` decides where they go, and
``writing.py`` writes them and overwrites nothing. The recorded events are ``schemas/examples``.
"""
