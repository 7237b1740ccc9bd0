-- Mean of each contact's latest rating of a ticket; nothing where nobody ever rated.
{{ survey_measure('satisfaction') }}
