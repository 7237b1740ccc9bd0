-- Mean of each contact's latest answer on effort, 1 is easiest; nothing where nobody ever answered.
{{ survey_measure('effort') }}
