package web

import (
	"errors"
	"strings"

	"sealpost/fault"
)

// form is a form as it is shown: the fields with what was typed into them, and what is wrong with
// them. A password is never shown again.
type form struct {
	Error  string // about the form as a whole
	Values map[string]string
	Errors map[string]string // by field
}

// newForm keeps what a page was sent, except passwords and codes.
func (p *page) newForm(names ...string) form {
	f := form{Values: map[string]string{}, Errors: map[string]string{}}
	for _, name := range names {
		f.Values[name] = p.form.Get(name)
	}
	return f
}

// refused puts what a domain says is wrong beside the field that it is about. The domains' sentences
// begin with the field's name where they are about one.
func (f *form) refused(err error) {
	message := messageOf(err)
	for name := range f.Values {
		if rest, ok := strings.CutPrefix(message, name+" "); ok {
			f.Errors[name] = fieldLabels[name] + " " + rest
			return
		}
	}
	f.Error = sentenceOf(message)
}

// fieldLabels are fields' names as pages write them.
var fieldLabels = map[string]string{
	"name": "Name", "url": "URL", "concurrency": "Concurrency", "timeoutSeconds": "Timeout", "maxAttempts": "Attempts",
	"overlapHours": "Overlap", "reason": "Reason", "expireAt": "The new end", "limit": "How many", "q": "Id", "email": "E-mail",
	"from": "From", "to": "To", "ticketId": "Ticket", "secrets": "Secrets", "rotatedAt": "The time", "environments": "Environments",
	"rollbackPlan": "The rollback plan", "notes": "Notes", "actorId": "Actor", "role": "Role", "entityId": "Thing",
}

// Failed tells whether there is anything to correct.
func (f form) Failed() bool { return f.Error != "" || len(f.Errors) > 0 }

func asFault(err error) (*fault.Error, bool) { return errors.AsType[*fault.Error](err) }

// messageOf is what a fault says to its caller.
func messageOf(err error) string {
	if f, ok := asFault(err); ok {
		return f.Message
	}
	return ourSide
}

// sentenceOf begins a domain's message with a capital, as a page does.
func sentenceOf(message string) string {
	if message == "" || message[0] < 'a' || message[0] > 'z' {
		return message
	}
	return string(message[0]-'a'+'A') + message[1:]
}

// correctable tells whether an error is one that whoever filled in a form can mend, so that the form is
// shown again with it.
func correctable(err error) bool {
	switch fault.Of(err) {
	case fault.Invalid, fault.Conflict, fault.TooLarge:
		return true
	default:
		return false
	}
}
