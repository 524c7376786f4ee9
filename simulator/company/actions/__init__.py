"""The actions by what they change: people and departments, roles, approvals."""
