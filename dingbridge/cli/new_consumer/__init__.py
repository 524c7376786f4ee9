"""What ``dingbridge new-consumer`` writes.

``names.py`` checks what was asked for, ``samples.py`` has events of each type, ``templates.py`` the texts,
``project.py`` says where they go, and ``writing.py`` writes them and overwrites nothing.
"""
