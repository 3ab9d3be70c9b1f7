"""What a topic may be called."""

from __future__ import annotations

from typing import Final

from dbgrains.errors import InvalidIdentityError, InvalidTopicError
from dbgrains.sansio.identity import check_name

TOPIC_BYTES_MAX: Final = 255


def check_topic(topic: object) -> str:
    """`topic` when it may name a topic: 1 to 255 bytes of UTF-8 without control characters and braces.

    Raises TypeError for anything but str, InvalidTopicError for a broken rule.
    """
    try:
        name = check_name("topic", topic)
    except InvalidTopicError:
        raise
    except InvalidIdentityError as error:
        raise InvalidTopicError(str(error)) from None
    size_bytes = len(name.encode())
    if size_bytes > TOPIC_BYTES_MAX:
        raise InvalidTopicError(
            f"topic: got {size_bytes} bytes of UTF-8 ({name!r:.40}...); expected at most {TOPIC_BYTES_MAX}"
        )
    for brace in "{}":
        if brace in name:
            raise InvalidTopicError(f"topic: got {name!r:.80}; {brace!r} at character {name.index(brace)}")
    return name
