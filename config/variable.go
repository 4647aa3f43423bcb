package config

// Variable describes one variable for people: in help, in generated environment files, in docs.
type Variable struct {
	Name       string
	Section    string
	About      string // one sentence
	Takes      string // the values it takes, limits included
	Default    string // in words; empty: unset
	Production string // what the production gate asks of it, empty where it asks nothing
	Secret     bool   // may also come as NAME_FILE or as a credential, and is never printed
}

// Variables gives every variable, in the order of the reference.
func Variables() []Variable {
	var all []Variable
	for _, s := range sections {
		for _, v := range s.variables {
			described := v.Variable
			described.Section = s.name
			described.Production = asksInProduction(v)
			all = append(all, described)
		}
	}
	return all
}

// variable is a row of the table: a Variable and how its text gets into a Config.
type variable struct {
	Variable
	// fallback gives the text that counts when the variable is unset; empty: nothing does. It sees
	// what the rows before it have read.
	fallback func(*Config) string
	read     func(*Config, string) error
	show     func(string) string // how a wrong value is shown; it cuts what may hold a password

	kind  *secretKind // of a secret, which has no read
	place func(*Config) *Secret
}

// takes says what the variable takes in this environment.
func (v variable) takes(production bool) string {
	asks := asksInProduction(v)
	if !production || asks == "" {
		return v.Takes
	}
	return v.Takes + "; in production " + asks
}

// section is a heading of the table.
type section struct {
	name      string
	variables []variable
}

// eachVariable goes through the table in its order.
func eachVariable(do func(variable)) {
	for _, s := range sections {
		for _, v := range s.variables {
			do(v)
		}
	}
}
