package web

import (
	"net/http"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// userPages are where an ADMIN makes accounts and helps people who cannot get in (runbook §1, §4). Every
// change needs a fresh sign-in (SPEC §5.6). A guarded form carries no password, so an account's first one is
// made here and shown once.
func (s *Server) userPages() {
	admin := only(audit.Admin)
	s.page(admin, "GET /users", (*page).userList)
	s.page(admin, "GET /users/new", (*page).newUser)
	s.page(admin, "GET /users/{id}", (*page).user)
	guarded := admin.guarded()
	s.page(guarded, "POST /users", (*page).createUser)
	s.page(guarded, "POST /users/{id}", (*page).changeUserForm)
	s.page(guarded, "POST /users/{id}/disable", func(p *page) error { return p.disableUser(true, "disabled") })
	s.page(guarded, "POST /users/{id}/enable", func(p *page) error { return p.disableUser(false, "enabled") })
	s.page(guarded, "POST /users/{id}/reset-mfa", (*page).resetMFAForm)
	s.page(guarded, "POST /users/{id}/reset-password", (*page).resetPasswordForm)
	s.page(guarded, "POST /users/{id}/sign-out", (*page).signOutUser)
}

var userRoles = []audit.Role{audit.Admin, audit.Author, audit.Auditor}

type usersData struct {
	Rows         []account.User
	First, Older string
}

// userList handles GET /users.
func (p *page) userList() error {
	after, ok := parseCursor(p.query("cursor"))
	if !ok {
		return fault.New(fault.BadRequest, "this address is none of a list of users")
	}
	list, err := p.Accounts.Users(p.ctx, store.Page{Limit: jobsShown, After: after})
	if err != nil {
		return err
	}
	data := usersData{Rows: list.Items}
	if after != "" {
		data.First = "/users"
	}
	if list.Next != "" {
		data.Older = "/users?cursor=" + makeCursor(list.Next)
	}
	return p.render(http.StatusOK, "users", data)
}

// userData is a user with the forms about them. Of a new one there is only the form.
type userData struct {
	form
	account.User
	Roles    []audit.Role
	Self     bool // whose page it is looks at it
	State    form // of disabling and enabling
	MFA      form
	Password form
}

func emptyForm(values map[string]string) form {
	return form{Values: values, Errors: map[string]string{}}
}

// newUser handles GET /users/new.
func (p *page) newUser() error {
	return p.render(http.StatusOK, "newuser", userData{
		Roles: userRoles, form: emptyForm(map[string]string{"name": "", "email": "", "role": string(audit.Author)}),
	})
}

// handedOver is a page with what an ADMIN hands to a user, shown once.
type handedOver struct {
	account.User
	New    bool
	Secret string
	Reset  account.PasswordReset
}

// createUser handles POST /users.
func (p *page) createUser() error {
	password := account.GeneratePassword()
	u, err := p.Accounts.Register(p.ctx, p.by, account.NewUser{
		Name: p.field("name"), Email: p.field("email"), Role: p.field("role"), Password: password,
	})
	switch {
	case err == nil:
		return p.render(http.StatusCreated, "usersecret", handedOver{User: u, New: true, Secret: password})
	case !correctable(err):
		return err
	}
	data := userData{Roles: userRoles, form: p.newForm("name", "email", "role")}
	data.refused(err)
	return p.render(p.x.problem(err).Status, "newuser", data)
}

// user handles GET /users/{id}.
func (p *page) user() error { return p.showUser(http.StatusOK, nil) }

// showUser shows the user that an address names. change, which may be nil, puts into the forms what is wrong
// with them.
func (p *page) showUser(status int, change func(*userData)) error {
	u, err := p.Accounts.User(p.ctx, p.r.PathValue("id"))
	if err != nil {
		return err
	}
	reason := func() form { return emptyForm(map[string]string{"reason": ""}) }
	data := userData{
		User: u, Roles: userRoles, Self: u.ID == p.by.UserID, State: emptyForm(nil), MFA: reason(), Password: reason(),
		form: emptyForm(map[string]string{"name": u.Name, "role": string(u.Role)}),
	}
	if change != nil {
		change(&data)
	}
	return p.render(status, "user", data)
}

// userDone goes back to a user's page, which says what was done, or shows again the form that was refused.
func (p *page) userDone(err error, done string, refuse func(*userData)) error {
	switch {
	case err == nil:
		return p.redirect("/users/" + p.r.PathValue("id") + "?done=" + done)
	case correctable(err):
		return p.showUser(p.x.problem(err).Status, refuse)
	}
	return err
}

// changeUserForm handles POST /users/{id}.
func (p *page) changeUserForm() error {
	name, role := p.field("name"), p.field("role")
	patch := account.UserPatch{Name: &name}
	if role != p.field("was.role") { // what somebody else has changed meanwhile stays
		patch.Role = &role
	}
	_, err := p.Accounts.ChangeUser(p.ctx, p.by, p.r.PathValue("id"), patch)
	return p.userDone(err, "userchanged", func(d *userData) {
		d.form = p.newForm("name", "role")
		d.refused(err)
	})
}

func (p *page) disableUser(disabled bool, done string) error {
	_, err := p.Accounts.ChangeUser(p.ctx, p.by, p.r.PathValue("id"), account.UserPatch{Disabled: &disabled})
	return p.userDone(err, done, func(d *userData) { d.State.refused(err) })
}

// resetMFAForm handles POST /users/{id}/reset-mfa.
func (p *page) resetMFAForm() error {
	_, err := p.Accounts.ResetMFA(p.ctx, p.by, p.r.PathValue("id"), p.field("reason"))
	return p.userDone(err, "mfareset", func(d *userData) {
		d.MFA = p.newForm("reason")
		d.MFA.refused(err)
	})
}

// resetPasswordForm handles POST /users/{id}/reset-password.
func (p *page) resetPasswordForm() error {
	id := p.r.PathValue("id")
	r, err := p.Accounts.ResetPassword(p.ctx, p.by, id, p.field("reason"))
	if err == nil {
		u, err := p.Accounts.User(p.ctx, id)
		if err != nil {
			return err
		}
		return p.render(http.StatusOK, "usersecret", handedOver{User: u, Secret: r.Token, Reset: r})
	}
	return p.userDone(err, "", func(d *userData) {
		d.Password = p.newForm("reason")
		d.Password.refused(err)
	})
}

// signOutUser handles POST /users/{id}/sign-out.
func (p *page) signOutUser() error {
	err := p.Accounts.LogoutAll(p.ctx, p.by, account.Whose{UserID: p.r.PathValue("id")})
	return p.userDone(err, "signedout", func(d *userData) { d.State.refused(err) })
}

// Is tells whether a role is the one that a form has chosen.
func (d userData) Is(role audit.Role) bool {
	return string(role) == d.Values["role"]
}
