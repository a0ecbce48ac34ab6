"""The statistics page tells how full sessions are and how much of a pool is out."""

import datetime as dt

from api.console.pages.statistics import _shared
from data.files.clinic_file import ClinicFile
from tests.support.clinics import MONDAY, PROVIDER, TYPE, booking, small_clinic, uid

BEFORE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def test_what_providers_share() -> None:
    hours = {"start_time": "09:00", "end_time": "11:00"}
    document = small_clinic(
        appointment_types=[
            {
                "id": TYPE,
                "name": "Scan",
                "duration_minutes": 30,
                "required_pools": [{"pool_id": uid(8, 0), "quantity": 1}],
            }
        ],
        equipment_pools=[{"id": uid(8, 0), "name": "Scanner", "quantity": 2}],
        availability=[{"provider_id": PROVIDER, "weekday": 1, **hours}],
        sessions=[{"id": uid(7, 0), "name": "S", "weekday": 1, "max_bookings": 4, **hours}],
        bookings=[
            booking(0, MONDAY, "09:00"),
            booking(1, MONDAY, "10:00"),
            booking(2, MONDAY, "09:30", status="cancelled"),
            booking(3, MONDAY + dt.timedelta(weeks=1), "09:30"),
        ],
    )
    clinic = ClinicFile.model_validate(document).to_clinic(BEFORE)
    assert _shared(clinic, [MONDAY]) == [
        ("Sessions filled", "50%"),
        ("Scanner, most at once", "50%, 25% used"),
    ]
    plain = ClinicFile.model_validate(small_clinic()).to_clinic(BEFORE)
    assert _shared(plain, [MONDAY]) == []
