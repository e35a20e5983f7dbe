// Sessions of narvik from Go, with database/sql and the driver lib/pq.
// Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
package main

import (
	"database/sql"
	"encoding/json"
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
	userID    string
	device    sql.NullString
	setCookie sql.NullString
}

// After the password was right: the Set-Cookie header to answer with.
func logIn(userID, device string) (setCookie string, err error) {
	data, err := json.Marshal(map[string]string{"device": device})
	if err != nil {
		return "", err
	}
	err = db.QueryRow(`SELECT narvik_create_cookie(token) FROM narvik_create_session($1, $2)`,
		userID, data).Scan(&setCookie)
	return setCookie, err
}

// On every request, with its Cookie header: who it is, or nil.  If setCookie is
// valid, answer with that header: the session lives longer now.
func validate(cookies string) (*session, error) {
	var s session
	err := db.QueryRow(`
		SELECT s.user_id, s.data->>'device',
		       CASE WHEN s.new OR s.extended THEN narvik_create_cookie(token) END
		FROM narvik_read_cookie($1) AS token, narvik_validate_session(token) AS s`,
		cookies).Scan(&s.userID, &s.device, &s.setCookie)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &s, err
}

// Work with the database as this user.  Row-level security shows her rows, and
// the identity ends with the transaction: the next one in the pool is nobody.
func asUser(cookies string, work func(*sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if _, err := tx.Exec(`SELECT narvik_authenticate(narvik_read_cookie($1))`, cookies); err != nil {
		return err
	}
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// The Set-Cookie header that removes the cookie of the session that is gone.
func logOut(cookies string) (setCookie string, err error) {
	var existed bool
	err = db.QueryRow(`
		SELECT narvik_invalidate_session(narvik_session_id(narvik_read_cookie($1))),
		       narvik_create_blank_cookie()`,
		cookies).Scan(&existed, &setCookie)
	return setCookie, err
}

// ---- a visit ----------------------------------------------------------------

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func notes(cookies string) {
	var bodies string
	check(asUser(cookies, func(tx *sql.Tx) error {
		return tx.QueryRow(`SELECT coalesce(string_agg(body, ', ' ORDER BY body), 'none') FROM notes`).Scan(&bodies)
	}))
	fmt.Println("notes:", bodies)
}

func request(cookies string) {
	s, err := validate(cookies)
	check(err)
	if s == nil {
		fmt.Println("request: not logged in")
		return
	}
	fmt.Printf("request: %s on a %s\n", s.userID, s.device.String)
	if s.setCookie.Valid {
		fmt.Println("set cookie:", s.setCookie.String)
	}
}

func main() {
	var err error
	db, err = sql.Open("postgres", "")
	check(err)
	defer db.Close()

	request("theme=dark")
	notes("theme=dark")
	setCookie, err := logIn("alice", "laptop")
	check(err)
	fmt.Println("log in:", setCookie)
	cookies := "theme=dark; " + strings.Split(setCookie, ";")[0] // what a browser sends from now on
	request(cookies)
	notes(cookies)
	// Here twenty of its thirty days go by at once.
	_, err = db.Exec(`
		SELECT narvik_update_session_expiry(narvik_session_id(narvik_read_cookie($1)),
		                                    now() + interval '10 days')`, cookies)
	check(err)
	request(cookies)
	request(cookies)
	setCookie, err = logOut(cookies)
	check(err)
	fmt.Println("log out:", setCookie)
	request(cookies)
	notes(cookies)
}
