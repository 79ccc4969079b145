"""The results for people: report.html and the table on the terminal. Programs read the JSON documents."""
