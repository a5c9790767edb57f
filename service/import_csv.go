package service

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

// importRow is a user as a file describes him.
type importRow struct {
	line   int
	user   protocol.User
	typed  string // password as typed
	legacy string // stored form made of the legacy columns
}

// importColumns is what a header may name, in the order of ExampleCSV.
func importColumns() []string {
	header, _, _ := strings.Cut(ExampleCSV, "\n")
	return strings.Split(header, ",")
}

// readRows reads the rows of a file and reports what is wrong with each; the error is one of reading. Bad rows are
// returned too, so that the search for duplicates sees their names.
func readRows(r io.Reader, departments []protocol.Department, p *problems) ([]importRow, error) {
	buffered := bufio.NewReader(r)
	if mark, err := buffered.Peek(3); err == nil && bytes.Equal(mark, []byte("\ufeff")) {
		_, _ = buffered.Discard(len(mark)) // spreadsheets write it
	}
	lines := csv.NewReader(buffered)
	lines.FieldsPerRecord = -1
	lines.ReuseRecord = true
	header, err := lines.Read()
	if errors.Is(err, io.EOF) {
		p.add(1, "the file is empty: the first line names the columns")
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(err, 1, p)
	}
	columns := readHeader(header, p)
	if p.found != nil {
		return nil, nil
	}
	f := rowReader{columns: columns, departments: departmentNames(departments), problems: p}
	var rows []importRow
	for len(rows) <= maxImportUsers {
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if err := unreadable(err, 0, p); err != nil {
				return nil, err
			}
			continue
		}
		line, _ := lines.FieldPos(0)
		rows = append(rows, f.read(line, record))
	}
	return rows, nil
}

// unreadable reports an error of the CSV form, and returns any other.
func unreadable(err error, line int, p *problems) error {
	var form *csv.ParseError
	if !errors.As(err, &form) {
		return fmt.Errorf("read users: %w", err)
	}
	p.add(max(line, form.StartLine), "no valid CSV: %v", form.Err)
	return nil
}

// readHeader finds the place of each column.
func readHeader(header []string, p *problems) map[string]int {
	known := importColumns()
	columns := make(map[string]int, len(header))
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(known, name) {
			p.add(1, "unknown column %q; known are %s", name, strings.Join(known, ", "))
		}
		if _, twice := columns[name]; twice {
			p.add(1, "column %q twice", name)
		}
		columns[name] = i
	}
	if _, ok := columns["name"]; !ok {
		p.add(1, "no column \"name\"")
	}
	return columns
}

// departmentNames finds departments by name and by id; a name that two have is 0.
func departmentNames(all []protocol.Department) map[string]protocol.DeptID {
	found := make(map[string]protocol.DeptID, 2*len(all))
	for _, d := range all {
		if !d.Deleted {
			found[strconv.FormatUint(uint64(d.ID), 10)] = d.ID
		}
	}
	names := make(map[string]protocol.DeptID, len(all))
	for _, d := range all {
		if d.Deleted {
			continue
		}
		if _, twice := names[d.Name]; twice {
			names[d.Name] = 0
			continue
		}
		names[d.Name] = d.ID
	}
	for name, id := range names {
		found[name] = id
	}
	return found
}

// rowReader turns records into rows.
type rowReader struct {
	columns     map[string]int
	departments map[string]protocol.DeptID
	problems    *problems
}

func (f *rowReader) read(line int, record []string) importRow {
	row := importRow{line: line}
	bad := func(format string, args ...any) { f.problems.add(line, format, args...) }
	if len(record) != len(f.columns) {
		bad("%d fields, but the header names %d columns", len(record), len(f.columns))
	}
	field := func(column string) string {
		if i, ok := f.columns[column]; ok && i < len(record) {
			return strings.Clone(record[i]) // the record is one string: what is kept must not hold all of it
		}
		return ""
	}
	if !utf8.ValidString(strings.Join(record, "")) {
		bad("not UTF-8")
	}
	trimmed := func(column string) string { return strings.TrimSpace(field(column)) }
	row.user = protocol.User{
		Name: trimmed("name"), Nick: trimmed("nick"), Email: trimmed("email"), Phone: trimmed("phone"),
		Domain: trimmed("domain"), Avatar: trimmed("avatar"), Sign: trimmed("sign"),
	}
	var err error
	if row.user.Gender, err = readGender(trimmed("gender")); err != nil {
		bad("%v", err)
	}
	if row.user.Status, err = readStatus(trimmed("status")); err != nil {
		bad("%v", err)
	}
	if row.user.ID, err = readID(trimmed("id")); err != nil {
		bad("%v", err)
	}
	if row.user.Department, err = f.department(trimmed("department")); err != nil {
		bad("%v", err)
	}
	if err := row.user.Check(); err != nil {
		bad("%v", err)
	}
	row.typed = field("password") // not trimmed: blanks count
	if row.legacy, err = readLegacy(trimmed("legacy_hash"), trimmed("legacy_salt")); err != nil {
		bad("%v", err)
	}
	if row.typed != "" && row.legacy != "" {
		bad("both password and legacy_hash")
	}
	return row
}

func (f *rowReader) department(s string) (protocol.DeptID, error) {
	if s == "" || s == "0" {
		return 0, nil
	}
	id, ok := f.departments[s]
	switch {
	case !ok:
		return 0, fmt.Errorf("no department %q; add it first", s)
	case id == 0:
		return 0, fmt.Errorf("more than one department has the name %q; give its id", s)
	}
	return id, nil
}

func readGender(s string) (uint8, error) {
	switch strings.ToLower(s) {
	case "", "0", "unknown":
		return 0, nil
	case "1", "male":
		return 1, nil
	case "2", "female":
		return 2, nil
	}
	return 0, fmt.Errorf("gender %q: unknown, male or female", s)
}

func readStatus(s string) (protocol.UserStatus, error) {
	if s == "" {
		return protocol.StatusActive, nil
	}
	names := []string{"active", "probation", "regular", "left", "intern"} // in the order of their numbers
	for i, name := range names {
		if strings.EqualFold(s, name) || s == strconv.Itoa(i) {
			return protocol.UserStatus(i), nil
		}
	}
	return 0, fmt.Errorf("status %q: one of %s", s, strings.Join(names, ", "))
}

func readID(s string) (protocol.UserID, error) {
	if s == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == 0 || id >= protocol.MaxLocalID {
		return 0, fmt.Errorf("id %q: 1 to %d, or nothing", s, protocol.MaxLocalID-1)
	}
	return protocol.UserID(id), nil
}

func readLegacy(hash, salt string) (string, error) {
	if hash == "" {
		if salt != "" {
			return "", errors.New("legacy_salt without legacy_hash")
		}
		return "", nil
	}
	return password.Legacy(salt, hash)
}

func sortLines(lines []LineError) {
	slices.SortStableFunc(lines, func(a, b LineError) int { return cmp.Compare(a.Line, b.Line) })
}
