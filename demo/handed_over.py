"""Handed over: the plays in which another organisation acquires, reports, or does both.

The lead's co-ordinator hands the work over under an agreement; whoever works for it works from
worklists of its own, with a scanner of its own.
"""

from demo.orders import Json
from demo.primary import Primary
from demo.story import expect, name
from resources import codes

PROVIDER = "clearscan"


class HandedOver(Primary):
    """What the three have in common."""

    kind = codes.KIND_OUTSOURCED_BOTH

    async def play(self) -> None:
        """Refer, justify, hand over; acquire and report wherever that is done; acknowledge."""
        second = await self._refer()
        await self._justify()
        await self._reject(second)
        await self._hand_over()
        await self._schedule()
        item = await self._read_worklist(second)
        await self._acquire(item)
        await self._read_images()
        async with self._listening() as line:
            await self._write_report()
            task = await self._hear(line)
        await self._check_returned()
        await self._acknowledge(task)
        await self._read_record()
        self._sum_up()
        self.ended = True

    async def _hand_over(self) -> None:
        with self._step("coordinator", "hands the work over to Clearscan") as step:
            made = await self._people.create(
                "coordinator",
                {
                    "resourceType": "ServiceRequest",
                    "status": "active",
                    "intent": "filler-order",
                    "basedOn": [{"reference": name(self._request)}],
                    "category": [self.kind.concept],
                    "requester": {"reference": "Organization/northmoor"},
                    "performer": [{"reference": f"Organization/{PROVIDER}"}],
                    **{
                        member: self._request[member]
                        for member in ("subject", "requisition", "code", "priority")
                    },
                },
            )
            self._onward = await self._people.get("coordinator", name(made))
            watching = await self._watching()
            expect(watching["status"] == "in-progress", "the lead sees to it until it is done")
            step.made = name(self._onward)
            step.says(f"{name(watching)} stays with the lead")

    async def _watching(self) -> Json:
        return await self._task("coordinator", "monitor", self._onward)

    async def _check_returned(self) -> None:
        with self._step("coordinator", "has what was asked for") as step:
            watching = await self._watching()
            expect(watching["status"] == "completed", "accepted, as the agreement says")
            onward = await self._people.get("coordinator", name(self._onward))
            expect(onward["status"] == "completed", "the onward request is completed")
            step.made = name(watching)


class OutsourcedAcquisition(HandedOver):
    """Figure 4-2: Clearscan acquires, on the authority of the lead's practitioner."""

    kind = codes.KIND_OUTSOURCED_ACQUISITION
    steps = 25
    booker = operator = "clearscan-operator"
    scanner = "CT2"
    rooms = ()

    @property
    def _acquisition(self) -> Json:
        return self._onward or self._request


class OutsourcedReporting(HandedOver):
    """Figure 4-3: Clearscan reports what the lead has acquired."""

    kind = codes.KIND_OUTSOURCED_REPORTING
    steps = 25
    reporting = "clearscan-reporter"

    @property
    def _reported(self) -> Json:
        return self._onward or self._request


class OutsourcedBoth(OutsourcedAcquisition):
    """Figure 4-4: Clearscan acquires and reports; the lead sees the images with the report."""

    kind = codes.KIND_OUTSOURCED_BOTH
    reporting = "clearscan-reporter"

    @property
    def _reported(self) -> Json:
        return self._onward or self._request
