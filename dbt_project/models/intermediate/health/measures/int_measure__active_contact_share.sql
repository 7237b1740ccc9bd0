-- Contacts active in the last 28 days as a share of the seats bought.
{{ usage_measure(
    value=ratio('count(distinct usage_daily.contact_id)', 'max(customer_days.seats_bought)'),
    days=28
) }}
