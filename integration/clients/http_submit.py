# Submits by HTTP as the page docs/http-submission.md has it, with Python's requests.
import os, socket, sys, requests

real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *args: real("127.0.0.1" if host == os.environ["HOST"] else host, *args)
url, alice = os.environ["URL"], ("alice@example.org", "secret")

with open(os.environ["MESSAGE"], "rb") as f:
    whole = requests.post(url, params={"from": "alice@example.org", "to": ["requests@example.net"]}, data=f, auth=alice,
                          headers={"Content-Type": "message/rfc822"})
whole.raise_for_status()

once = {"Idempotency-Key": "0190a"}
document = {"from": "Älice <alice@example.org>", "to": ["requests-json@example.net"], "subject": "Grüße", "text": "hällo\n"}
first = requests.post(url, json=document, auth=alice, headers=once)
again = requests.post(url, json=document, auth=alice, headers=once)
assert first.status_code == again.status_code == 202 and first.json() == again.json(), (first.text, again.text)
own = requests.get(requests.compat.urljoin(url, first.headers["Location"]), auth=alice)
assert own.status_code == 200 and own.json()["recipients"][0]["address"] == "requests-json@example.net", own.text

wrong = requests.post(url, json=document, auth=("alice@example.org", "guess"))
assert wrong.status_code == 401 and wrong.json()["enhanced_code"] == "5.7.8", wrong.text
print(whole.text)
