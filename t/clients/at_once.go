// Follows the functions of examples/clients/go.go, in place of its visit: several
// users at once, requests that fail, connections that break.  Prints a line
// "ok ..." or "not ok ..." for each thing held.

func told(good bool, examples []string, what string) {
	verdict := "ok"
	if !good {
		verdict = "not ok"
	}
	fmt.Printf("%s %d %s %.200s\n", verdict, len(examples), what, strings.Join(examples, "; "))
}

func main() {
	var err error
	if db, err = sql.Open("postgres", ""); err != nil {
		log.Fatal(err)
	}
	cookies := map[string]string{}
	for _, user := range []string{"alice", "bob"} {
		setCookie, err := logIn("", user)
		if err != nil {
			log.Fatal(err)
		}
		cookies[user] = strings.Split(setCookie, ";")[0]
	}
	expected := map[string]string{"alice": "alice,alice", "bob": "bob", "nobody": ""}

	var answered, foreign, lost, unknown []string
	var guard sync.Mutex
	note := func(list *[]string, what string) {
		guard.Lock()
		defer guard.Unlock()
		*list = append(*list, what)
	}
	mustFail := func(user, message string, work func(*sql.Tx, session) error) {
		if err := asUser(cookies[user], work); err == nil || !strings.Contains(err.Error(), message) {
			note(&unknown, fmt.Sprint(err))
		}
	}
	request := func(user string) {
		var owners string
		err := asUser(cookies[user], func(tx *sql.Tx, _ session) error {
			return tx.QueryRow(`SELECT coalesce(string_agg(owner, ','), '') FROM notes`).Scan(&owners)
		})
		if err != nil {
			note(&lost, err.Error())
		} else if owners != expected[user] {
			note(&foreign, user+": "+owners)
		} else {
			note(&answered, user)
		}
	}

	var all sync.WaitGroup
	for _, user := range []string{"alice", "bob", "alice", "bob"} {
		all.Add(1)
		go func(user string) {
			defer all.Done()
			for i := 0; i < 150; i++ {
				if i%10 == 3 {
					mustFail(user, "on purpose", func(*sql.Tx, session) error { return errors.New("on purpose") })
				}
				if i%50 == 7 {
					mustFail(user, "bad connection", func(tx *sql.Tx, _ session) error {
						_, err := tx.Exec(`SELECT pg_terminate_backend(pg_backend_pid())`)
						return err
					})
				}
				if i%5 == 0 {
					request("nobody")
				} else {
					request(user)
				}
			}
		}(user)
	}
	all.Wait()
	told(len(foreign) == 0, foreign, "of 600 requests saw other rows than their user's")
	told(len(answered)+len(foreign) == 600, lost, "of 600 requests got no answer, because another had failed")
	told(len(unknown) == 0, unknown, "failures did not reach the caller")
}
