-- How usage moved: the log of the uses a day in the last 28 days over those in the 28 days before, days on which the
-- product's events were not heard left out. Customers with too little to compare, or who were not there for both windows,
-- have no trend rather than a flat one.
{% set usage = "(select * from " ~ ref('int_usage__daily') ~ " where customer_id is not null)" %}
{% set now = running_totals(summed_in_days(usage, 'known_date', {'uses': 'uses'}, 28), ['uses']) %}
{% set both = running_totals(summed_in_days(usage, 'known_date', {'uses': 'uses'}, 56), ['uses']) %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

heard as (

    select * from {{ ref('int_feeds__heard') }}

),

uses_28d as (

    select * from {{ now }} as running

),

uses_56d as (

    select * from {{ both }} as running

),

compared as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        customer_days.product_usage_age_days,
        uses_28d.uses as uses_28d,
        uses_56d.uses - uses_28d.uses as uses_28d_before,
        heard.days_heard_28d,
        heard.days_heard_28d_before
    from customer_days
    inner join uses_28d
        on
            customer_days.customer_id = uses_28d.customer_id
            and customer_days.as_of_date = uses_28d.as_of_date
    inner join uses_56d
        on
            customer_days.customer_id = uses_56d.customer_id
            and customer_days.as_of_date = uses_56d.as_of_date
    inner join heard
        on customer_days.as_of_date = heard.as_of_date
    where customer_days.tenure_days >= 56

),

final as (

    select
        customer_id,
        as_of_date,
        ln(1 + uses_28d * {{ ratio('28', 'days_heard_28d') }}) - ln(1 + uses_28d_before * {{ ratio('28', 'days_heard_28d_before') }})
            as raw_value,
        product_usage_age_days as age_days
    from compared
    where
        uses_28d_before >= 10
        and days_heard_28d > 0
        and days_heard_28d_before > 0

)

select * from final
