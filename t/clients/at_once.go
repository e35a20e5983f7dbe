// Follows the functions of examples/clients/go.go, in place of its visit: two
// users in eight goroutines, requests that fail, connections that break, a server
// that restarts.  Prints a line "ok ..." or "not ok ..." for each thing held.

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

	var answered, foreign, lost, unknown, late []string
	var guard sync.Mutex
	note := func(list *[]string, what string) {
		guard.Lock()
		defer guard.Unlock()
		*list = append(*list, what)
	}
	var began, restarted atomic.Bool
	restart := func() {
		began.Store(true)
		log := os.Getenv("PGDATA") + "/../server.log"
		if err := exec.Command("pg_ctl", "-s", "-w", "-m", "fast", "-l", log, "restart").Run(); err != nil {
			panic(err)
		}
		restarted.Store(true)
	}
	end := time.Now().Add(2 * time.Minute)
	mustFail := func(user, message string, work func(*sql.Tx, session) error) {
		err := asUser(cookies[user], work)
		if err == nil || !strings.Contains(err.Error(), message) && !began.Load() {
			note(&unknown, fmt.Sprint(err))
		}
	}
	request := func(user string) {
		for ; ; time.Sleep(50 * time.Millisecond) {
			after := restarted.Load()
			var owners string
			err := asUser(cookies[user], func(tx *sql.Tx, _ session) error {
				return tx.QueryRow(`SELECT coalesce(string_agg(owner, ','), '') FROM notes`).Scan(&owners)
			})
			if err == nil && owners == expected[user] {
				note(&answered, user)
				return
			}
			if err == nil {
				note(&foreign, user+": "+owners)
				return
			}
			if after {
				note(&late, err.Error())
			}
			if !began.Load() || time.Now().After(end) {
				note(&lost, err.Error())
				return
			}
			// And the user loads the page again.
		}
	}

	var all sync.WaitGroup
	for visitor := 0; visitor < 8; visitor++ {
		all.Add(1)
		go func(visitor int) {
			defer all.Done()
			user := []string{"alice", "bob"}[visitor%2]
			for i := 0; i < 75; i++ {
				if visitor == 0 && i == 37 {
					restart()
				}
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
		}(visitor)
	}
	all.Wait()
	told(restarted.Load(), nil, "the server was restarted in the middle")
	told(len(foreign) == 0, foreign, "of 600 requests saw other rows than their user's")
	told(len(answered)+len(foreign) == 600, lost, "of 600 requests got no answer, because another had failed")
	told(len(late) <= 10, late, "requests failed after the restart, a connection at most one")
	told(len(unknown) == 0, unknown, "failures did not reach the caller")
}
