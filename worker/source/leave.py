"""Out of the group for good: what a stop that was asked for does and a crash cannot."""

import structlog
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, MemberState

from worker.connect import BrokerRefused, BrokerUnavailable, admin_client
from worker.settings.groups import KafkaSettings

_log = structlog.get_logger(__name__)


def who_leaves(member: ConsumerGroupMetadata) -> MemberToRemove | None:
    """Whom the broker is to take out, or None where this worker never asked to join.

    By name and member id, so that a successor in the slot is never hit. A first join that has no answer yet
    has no member id: the name alone must do then. Left in, the group would wait for a member that is gone,
    first to take up its share and then until its session ends; and all of it stands still meanwhile.
    """
    if not member.member_id and member.state is not MemberState.REBALANCING:
        return None
    return MemberToRemove(member_id=member.member_id or None, group_instance_id=member.group_instance_id)


def leave_group(kafka: KafkaSettings, group: str, leaving: MemberToRemove) -> None:
    """Take a static member out of its group, which it does not do by itself (KIP-345).

    Never raises: what fails here, the session timeout mends.
    """
    try:
        with admin_client(kafka) as admin:
            admin.remove_group_members(group, [leaving])
    except (BrokerUnavailable, BrokerRefused, KafkaError) as error:
        _log.info("could not leave the group", reason=" ".join(str(error).split()))
