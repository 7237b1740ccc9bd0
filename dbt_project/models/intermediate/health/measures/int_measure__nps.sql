-- Mean of each contact's latest NPS answer in the last 180 days; nothing where nobody answered.
with

customer_days as (

    select * from {{ ref('int_customer_days__live') }}

),

nps_answers as (

    select * from {{ ref('stg_surveys__nps_answers') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

answers_by_day as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        nps_answers.score,
        row_number() over (
            partition by customer_days.customer_id, customer_days.as_of_date, contacts.contact_id
            order by nps_answers.answered_at desc, nps_answers.nps_answer_id desc
        ) as recency
    from customer_days
    inner join contacts
        on customer_days.customer_id = contacts.customer_id
    inner join nps_answers
        on
            contacts.email = nps_answers.email
            and cast(nps_answers.answered_at as date) <= customer_days.as_of_date
            and cast(nps_answers.answered_at as date) > {{ days_before('customer_days.as_of_date', 180) }}

),

final as (

    select
        customer_id,
        as_of_date,
        avg(score) as raw_value
    from answers_by_day
    where recency = 1
    group by
        customer_id,
        as_of_date

)

select * from final
