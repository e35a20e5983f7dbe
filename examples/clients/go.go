// Sessions of narvik from Go, with database/sql and the driver lib/pq.
// Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
package main

import (
	"database/sql"
	"errors"
	"fmt"
	"log"
	"strings"

	_ "github.com/lib/pq"
)

// The pool.  One connection, one goroutine at a time: a transaction has one to
// itself, and what belongs to it goes to tx.  On db it would be somebody else's.
var db *sql.DB

type session struct {
	token, userID, device, setCookie sql.NullString
}

// Every request: a transaction that begins with the Cookie header as it came, any
// octets: strings.Join(r.Header["Cookie"], "; ").  The token is not valid if there is
// no session.  Else it is the transaction's identity, which row-level security
// trusts.  The identity ends with the transaction.  If setCookie is valid, answer
// with that header: the session lives longer now.
func asUser(header string, work func(*sql.Tx, session) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	var s session
	err = tx.QueryRow(`
		SELECT token, user_id, data->>'device', set_cookie
		FROM narvik_authenticate_cookie($1::bytea)`,
		[]byte(header)).Scan(&s.token, &s.userID, &s.device, &s.setCookie)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err := work(tx, s); err != nil {
		return err
	}
	return tx.Commit()
}

// These three return the Set-Cookie header to answer with.

// Something to remember of a visitor who has not logged in.
func remember(device string) (setCookie string, err error) {
	err = db.QueryRow(`
		SELECT narvik_create_cookie(token)
		FROM narvik_create_guest_session(jsonb_build_object('device', $1::text))`,
		device).Scan(&setCookie)
	return setCookie, err
}

// After the password was right: the guest's session becomes the user's.
func logIn(header, userID string) (setCookie string, err error) {
	err = asUser(header, func(tx *sql.Tx, s session) error {
		return tx.QueryRow(`SELECT narvik_create_cookie(token) FROM narvik_promote_session($1, $2)`,
			s.token, userID).Scan(&setCookie)
	})
	return setCookie, err
}

func logOut(header string) (setCookie string, err error) {
	err = asUser(header, func(tx *sql.Tx, s session) error {
		var existed bool
		return tx.QueryRow(`
			SELECT narvik_invalidate_session(narvik_current_session_id()), narvik_create_blank_cookie()`,
		).Scan(&existed, &setCookie)
	})
	return setCookie, err
}

// ---- a visit ----------------------------------------------------------------

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

const other = "city=Troms\xf8; " // whatever else the browser sends

func cookies(setCookie string) string {
	return other + strings.Split(setCookie, ";")[0]
}

func request(header string) {
	check(asUser(header, func(tx *sql.Tx, s session) error {
		switch {
		case s.userID.Valid:
			fmt.Printf("request: %s on a %s\n", s.userID.String, s.device.String)
		case s.token.Valid:
			fmt.Printf("request: guest on a %s\n", s.device.String)
		default:
			fmt.Println("request: nobody")
		}
		if s.setCookie.Valid {
			fmt.Println("set cookie:", s.setCookie.String)
		}
		var notes string
		err := tx.QueryRow(`SELECT coalesce(string_agg(body, ', ' ORDER BY body), 'none') FROM notes`).Scan(&notes)
		fmt.Println("notes:", notes)
		return err
	}))
}

func main() {
	var err error
	db, err = sql.Open("postgres", "")
	check(err)
	defer db.Close()

	request(other)
	setCookie, err := remember("laptop")
	check(err)
	guest := cookies(setCookie)
	request(guest)
	setCookie, err = logIn(guest, "alice")
	check(err)
	fmt.Println("log in:", setCookie)
	alice := cookies(setCookie)
	request(alice)
	// Here twenty of its thirty days go by at once.
	check(asUser(alice, func(tx *sql.Tx, s session) error {
		_, err := tx.Exec(`
			SELECT narvik_update_session_expiry(narvik_current_session_id(), now() + interval '10 days')`)
		return err
	}))
	request(alice)
	request(alice)
	setCookie, err = logOut(alice)
	check(err)
	fmt.Println("log out:", setCookie)
	request(alice)
}
