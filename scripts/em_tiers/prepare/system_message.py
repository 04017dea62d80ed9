"""A system text before a conversation."""

Messages = list[dict[str, str]]


def with_system(messages: Messages, text: str) -> Messages:
    """The conversation behind a system text; a question's own follows it in the same message.

    An empty text is a system message too: it takes the place of the one that some chat templates
    put where there is none.
    """
    if messages[0]["role"] == "system" and not text:
        return messages
    if messages[0]["role"] == "system":
        text, messages = f"{text}\n\n{messages[0]['content']}", messages[1:]
    return [{"role": "system", "content": text}, *messages]
