"""Writes the dashboards of Grafana, ``deploy/grafana/dashboards``: ``python -m dev.dashboards``.

What they show stands in ``boards``, as rows of panels; ``panels`` turns those into Grafana's JSON. Run it
after a change of either; a test fails as long as that was forgotten.
"""
