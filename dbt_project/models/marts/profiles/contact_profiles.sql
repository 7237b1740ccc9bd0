-- What the tools may know of a contact. Each column is a property of that name in the tool.
{{ config(meta={"sync": {
    "kind": "profile",
    "destinations": ["hubspot"],
    "object": "contact",
    "key": "contact_id",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

final as (

    select
        contacts.contact_id,
        contacts.email,
        contacts.first_name as firstname,
        contacts.last_name as lastname,
        contacts.job_title as jobtitle,
        contacts.customer_id,
        customers.customer_name,
        customers.journey_stage,
        customers.health_band,
        contacts.language as preferred_language,
        contacts.role,
        contacts.is_champion,
        customers.csm_owner_email
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id

)

select * from final
