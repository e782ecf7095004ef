package adminapi

// Health is what GET /msa/health answers, with status 503 if it is not Ready.
type Health struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"` // why messages cannot be accepted
}
