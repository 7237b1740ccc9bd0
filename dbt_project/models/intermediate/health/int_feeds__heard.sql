-- How many days ago each source last spoke, on each scored day: a feed that stopped is not a customer who stopped.
{% set feeds = ['product_usage', 'support', 'surveys', 'mail', 'website', 'community', 'billing'] %}
with

days as (

    select * from {{ ref('int_days') }}

),

spoken as (

    select
        'product_usage' as feed,
        known_date as spoken_date
    from {{ ref('int_usage__daily') }}
    where customer_id is not null

    union distinct

    select
        'support' as feed,
        created_date as spoken_date
    from {{ ref('int_tickets__attributed') }}

    union distinct

    select
        'surveys' as feed,
        answered_date as spoken_date
    from {{ ref('int_survey_answers__attributed') }}

    union distinct

    select
        'mail' as feed,
        delivered_date as spoken_date
    from {{ ref('int_mails__engaged') }}

    union distinct

    select
        'website' as feed,
        cast(occurred_at as date) as spoken_date
    from {{ ref('int_page_views__attributed') }}

    union distinct

    select
        'community' as feed,
        acted_date as spoken_date
    from {{ ref('int_community_acts__attributed') }}

    union distinct

    select
        'billing' as feed,
        cast(valid_from as date) as spoken_date
    from {{ ref('stg_stripe__subscription_versions') }}

),

by_day as (

    select
        spoken_date as on_date,
        {% for feed in feeds %}
        max(case when feed = '{{ feed }}' then spoken_date end) as {{ feed }}_date,
        {% endfor %}
        0 as is_scored
    from spoken
    group by spoken_date

    union all

    select
        as_of_date as on_date,
        {% for feed in feeds %}
        cast(null as date) as {{ feed }}_date,
        {% endfor %}
        1 as is_scored
    from days

),

last_heard as (

    select
        on_date,
        {% for feed in feeds %}
        max({{ feed }}_date) over (order by on_date) as {{ feed }}_date,
        {% endfor %}
        is_scored
    from by_day

),

-- on how many days the product's events were heard, in the last 28 and in the 28 before
windows as (

    select
        days.as_of_date,
        count(case when spoken.spoken_date > {{ days_before('days.as_of_date', 28) }} then 1 end) as days_heard_28d,
        count(case when spoken.spoken_date <= {{ days_before('days.as_of_date', 28) }} then 1 end) as days_heard_28d_before
    from days
    left join spoken
        on
            spoken.feed = 'product_usage'
            and spoken.spoken_date <= days.as_of_date
            and spoken.spoken_date > {{ days_before('days.as_of_date', 56) }}
    group by days.as_of_date

),

final as (

    select
        last_heard.on_date as as_of_date,
        {% for feed in feeds %}
        {{ days_between('last_heard.' ~ feed ~ '_date', 'last_heard.on_date') }} as {{ feed }}_age_days,
        {% endfor %}
        windows.days_heard_28d,
        windows.days_heard_28d_before
    from last_heard
    inner join windows
        on last_heard.on_date = windows.as_of_date
    where last_heard.is_scored = 1

)

select * from final
