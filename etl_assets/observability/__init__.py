"""What people are told of runs without looking.

    notifications.py  who is told, and how: e-mail, webhook
    check_sensor.py   tells of asset checks that found something, which Dagster's own sensors never see

Not here: what a check means (`rules.py`, `checks.py`).
"""
