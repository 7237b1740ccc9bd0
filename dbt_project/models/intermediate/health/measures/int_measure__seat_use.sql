-- Contacts active in the last 90 days as a share of the seats bought: seats that are used at all.
{{ usage_measure(
    value=ratio('count(distinct usage_daily.contact_id)', 'max(customer_days.seats_bought)'),
    days=90
) }}
