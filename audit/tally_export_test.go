package audit

// The statements of counting, for tests of their plans.
const (
	TallyText   = tallyText
	BodiesText  = bodiesText
	RefusedText = refusedText
)
