package queue

// Names of log fields, declared once.
const (
	fieldQueueID        = "queue_id"
	fieldRoute          = "route"
	fieldLane           = "lane"
	fieldCopy           = "copy"
	fieldHost           = "host"
	fieldAddress        = "address"
	fieldTLS            = "tls"
	fieldNextID         = "next_hop_id"
	fieldRecipientCount = "recipient_count"
	fieldSender         = "sender"
	fieldRecipients     = "recipients"
	fieldOutcome        = "outcome"
	fieldReply          = "reply"
	fieldRemoteMTA      = "remote_mta"
	fieldAttempt        = "attempt"
	fieldDuration       = "duration"
	fieldAge            = "age"
	fieldNext           = "next"
	fieldBounce         = "bounce"
	fieldAction         = "action"
	fieldReason         = "reason"
	fieldPanicAt        = "panic_at"
)
