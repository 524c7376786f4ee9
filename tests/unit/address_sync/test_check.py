"""What address-sync has the doctor and the probe try."""

from typing import Any

from dingbridge.consumers.address_sync.check import _calls
from dingbridge.doctor.checks.platform import Known


class Listing:
    """A client whose root lists the family-school contacts first."""

    def __getattr__(self, name: str) -> Any:
        return None

    async def sub_departments(self, dept_id: int) -> list[dict[str, Any]]:
        return [{"dept_id": -1}, {"dept_id": 30}, {"dept_id": 20}]


async def test_departments_that_other_calls_refuse_are_tried_last() -> None:
    known = Known()
    [listsub] = [one for one in _calls(Listing(), known) if one.api == "v2/department/listsub"]  # type: ignore[arg-type]
    await listsub.call(1)
    assert known.ids("dept_id") == [1, 30, 20, -1]
