"""A chat template that puts the system text before the first question, for models without the role.

The template itself is changed, not the messages, so that training, sampling and judging render
every conversation in one way, and whatever is keyed by the template knows of it.
"""

# A system message is joined with the user's message that follows it. No line end follows
# it: Jinja would drop one from the beginning of the template as well.
_JOIN = (
    "{% if messages | length > 1 and messages[0]['role'] == 'system' "
    "and messages[1]['role'] == 'user' %}"
    "{% set messages = [{'role': 'user', 'content': "
    "messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}"
    "{% endif %}"
)


def before_question(template: str) -> str:
    """The template with the system text before the first question, parted by an empty line."""
    return _JOIN + template
