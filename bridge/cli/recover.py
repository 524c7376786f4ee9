"""``dingbridge recover``: read DingTalk's list of failed pushes now."""


def command() -> None:
    """Read the pushes that DingTalk gave up, and publish them as the events they are.

    The ingress does this by itself, hourly and after an outage; by hand it is sooner. If an ingress holds the
    journal, it is asked to; else it is done here, and published when an ingress starts. Nothing is read while
    another instance reads. Exit code 1: DingTalk or Kafka does not work, or another one reads; 2: settings.
    """
    from bridge.cli.journal import do, print_result
    from ingress.verbs import recover_alone

    result = do("recover", {}, recover_alone)
    types = result.pop("types", {})
    print_result(result)
    for name, count in types.items():
        print(f"  {name}: {count}")
