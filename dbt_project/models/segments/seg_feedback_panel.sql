-- People who answer when they are asked, and who may be asked: the ones to try something new on.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Feedback panel",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

answers as (

    select * from {{ ref('int_survey_answers__attributed') }}

),

askable as (

    select *
    from {{ ref('contact_consents') }}
    where
        channel = 'email'
        and purpose = 'research'
        and is_allowed

),

answered as (

    select
        contact_id,
        count(*) as answers,
        max(answered_date) as last_answered_date
    from answers
    where answered_date > {{ days_before(as_of_date(), 'cast(' ~ threshold('feedback_panel_days') ~ ' as integer)') }}
    group by contact_id

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        {{ sentence([
            "'Answered '",
            'answered.answers',
            "' surveys within a year, last on '",
            'answered.last_answered_date',
        ]) }} as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join answered
        on contacts.contact_id = answered.contact_id
    inner join askable
        on contacts.contact_id = askable.contact_id
    where
        answered.answers >= {{ threshold('feedback_panel_min_answers') }}
        and customers.journey_stage <> 'churned'

)

select * from final
