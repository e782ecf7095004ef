package app

// Names of log fields, declared once.
const (
	fieldSession    = "session"
	fieldRemoteIP   = "remote_ip"
	fieldUser       = "user"
	fieldApp        = "app_password"
	fieldMechanism  = "mechanism"
	fieldReason     = "reason"
	fieldBackend    = "backend"
	fieldQueueID    = "queue_id"
	fieldSender     = "sender"
	fieldRecipient  = "recipient"
	fieldRecipients = "recipients"
	fieldSize       = "size"
	fieldReply      = "reply"
	fieldPolicy     = "policy"
	fieldHint       = "hint"
	fieldHelo       = "helo"
	fieldTLS        = "tls"
	fieldDuration   = "duration"
	fieldRoutes     = "routes"
	fieldHeld       = "held"
	fieldPriority   = "priority"
	fieldTraceID    = "trace_id"
)
