package main

import (
	"fmt"
	"os"
	"reflect"
	"strconv"

	"github.com/alecthomas/kong"

	"teamtalk/internal/node"
	"teamtalk/internal/texttable"
)

// optionFlags makes a flag for every option of the configuration, so that options are declared in one place only
// (internal/node). given returns the flags that were really set, by key.
func optionFlags(defaults map[string]string) (flags kong.Plugins, given func() map[string]string) {
	options := node.Options()
	fields := make([]reflect.StructField, 0, len(options))
	for i, o := range options {
		def := o.Default
		if d, ok := defaults[o.Key]; ok {
			def = d
		}
		help := fmt.Sprintf("%s (%s)", o.Help, o.Key)
		if def != "" {
			help += fmt.Sprintf(" [%s]", def)
		}
		fields = append(fields, reflect.StructField{
			Name: "Option" + strconv.Itoa(i),
			Type: reflect.TypeFor[*string](),
			Tag: reflect.StructTag(fmt.Sprintf(`name:%q help:%q placeholder:"…" group:"configuration"`,
				o.Flag, help)),
		})
	}
	values := reflect.New(reflect.StructOf(fields))
	given = func() map[string]string {
		set := make(map[string]string)
		for i, o := range options {
			if text, ok := values.Elem().Field(i).Interface().(*string); ok && text != nil {
				set[o.Key] = *text
			}
		}
		return set
	}
	return kong.Plugins{values.Interface()}, given
}

type configCmd struct {
	Config string `name:"config" short:"c" placeholder:"FILE" env:"TEAMTALK_CONFIG" help:"Show the values of this file (and of the environment)."`
	JSON   bool   `name:"json" help:"As JSON."`
}

type shownOption struct {
	Key     string      `json:"key"`
	Value   string      `json:"value"`
	From    node.Origin `json:"from"`
	Default string      `json:"default"`
	Flag    string      `json:"flag"`
	Env     string      `json:"env"`
	Help    string      `json:"help"`
}

// Run lists the options.
func (c *configCmd) Run(term *terminal) error {
	cfg, warnings, err := node.Load(node.Sources{File: c.Config, Environ: os.Environ()})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		term.say("teamtalkd: %s\n", w)
	}
	var shown []shownOption
	for _, o := range node.Options() {
		shown = append(shown, shownOption{Key: o.Key, Value: cfg.Show(o.Key), From: cfg.Origin(o.Key), Default: o.Default,
			Flag: "--" + o.Flag, Env: o.Env(), Help: o.Help})
	}
	if c.JSON {
		return printJSON(term.out, shown)
	}
	t := texttable.Table{{"KEY", "VALUE", "FROM", "FLAG", "MEANING"}}
	for _, o := range shown {
		t = append(t, []string{o.Key, orDash(o.Value), string(o.From), o.Flag, o.Help})
	}
	return t.Print(term.out)
}
