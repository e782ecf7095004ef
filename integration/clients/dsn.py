"""Parses a delivery status notification on standard input with Python's email package, and prints what it says as JSON."""
import email, email.policy, json, sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.SMTP)
assert message.get_content_type() == "multipart/report", message.get_content_type()
assert message.get_param("report-type") == "delivery-status"
assert not message.defects, message.defects
text, status, original = message.get_payload()
assert text.get_content_type() == "text/plain" and text.get_content().strip()
assert status.get_content_type() == "message/delivery-status"
blocks = [{k.lower(): str(v) for k, v in block.items()} for block in status.get_payload() if block.items()]
for part in (text, status, original):
    assert not part.defects, part.defects
headers = original.get_payload()
if original.get_content_type() == "message/rfc822":
    headers = original.get_payload(0).as_string()
print(json.dumps({"to": message["To"], "from": message["From"], "auto": message["Auto-Submitted"], "message": blocks[0],
                  "recipients": blocks[1:], "original_type": original.get_content_type(), "original": headers}))
